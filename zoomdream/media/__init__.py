"""Pictures, clips and films as files: reading, writing, ffmpeg, contact sheets."""
