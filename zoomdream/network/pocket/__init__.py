"""The network that was made for zoomdream: its layers, its weights and their licence."""
