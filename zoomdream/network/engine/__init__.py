"""How a network is computed: its compiler, its operations, and their replay on a GPU."""
