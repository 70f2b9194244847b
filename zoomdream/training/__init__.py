"""Trains pocket, the network that ships with zoomdream; nothing else imports this package.

It needs the extra `zoomdream[pocket]`. The recipe has two steps, and `FOLDER` is one of photographs:

    python -m zoomdream.training.train --pictures FOLDER
    python -m zoomdream.training.adversarial --pictures FOLDER --begin pocket-training/pocket.safetensors

The first makes a pocket of its teacher; the second teaches it to see what cannot fool it, and goes on from
the weights that ship where it is not told with what to begin. `evaluate` measures how near pocket is to its
teacher, and `class_dreams` whether another network can tell what its dreams of classes show.
"""
