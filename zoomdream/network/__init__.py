"""Networks: which there are, their layers, weights, objectives, and how they are computed."""
