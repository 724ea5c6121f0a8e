"""Print the oldest versions that setup.cfg allows, as constraints for pip: ``name>=version`` as ``name==version``."""

import configparser
import re

config = configparser.ConfigParser(interpolation=None)
config.read("setup.cfg")
for requirement in config["options"]["install_requires"].split():
    name, version = re.fullmatch(r"([\w.-]+)>=([\w.]+)", requirement).groups()
    # pip takes 2.0 for any 2.0.x that it is told of exactly, and there is a 2.0.0
    print(f"{name}=={version}")
