"""The recipe that makes pocket's weights; nothing else imports it."""
