"""The demonstration: five agencies and a broker as real servers on loopback, and the whole job done once."""
