"""Fields on the sphere and on SO(3): harmonic transforms, convolutions, networks."""
