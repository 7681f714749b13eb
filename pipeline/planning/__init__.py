"""Planning past one machine: measured rates, and a simulated schedule of what they would do."""
