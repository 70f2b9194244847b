"""Trains pocket, the network that ships with zoomdream; nothing else imports this package.

It needs the extra `zoomdream[pocket]`.
"""
