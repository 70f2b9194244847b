"""python -m zoomdream"""

from zoomdream.cli.app import main

main()
