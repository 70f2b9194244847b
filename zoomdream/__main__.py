"""python -m zoomdream"""

from zoomdream.cli import main

main()
