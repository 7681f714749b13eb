"""Mass maps and halo peaks from shear: filters, the network, and how both are judged."""
