"""Trains pocket, the network that ships with zoomdream; nothing else imports this package.

It needs the extra `zoomdream[pocket]`.

`student.safetensors` holds the weights, as far as they have come, of the student that is to take pocket's
place; they are in the repository and in no wheel. To go on from them:
`python -m zoomdream.training.adversarial --pictures FOLDER --begin zoomdream/training/student.safetensors
--out FOLDER`.
"""
