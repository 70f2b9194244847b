"""How a dream moves from frame to frame: cameras, warps, optical flow, cuts, anchors."""
