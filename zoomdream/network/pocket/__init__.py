"""The network that ships with zoomdream: its layers, its weights and their licence."""
