import os
import time

from geminga import Record


class Inbox:
    """Files that come into a directory, each of them a message, deleted when it is durable."""

    def read(self, context):
        inbox, taken = context.get_user_config_value("path"), set()
        while True:
            for name in sorted(set(os.listdir(inbox)) - taken):
                path = os.path.join(inbox, name)
                with open(path, "rb") as file:
                    yield Record(file.read(), key=name, stored=lambda path=path: os.remove(path))
                taken.add(name)
            time.sleep(0.2)
