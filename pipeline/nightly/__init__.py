"""A night of a survey: from what arrived to a catalogue, and what the night says of itself."""
