"""The functions of shop.yaml: plain functions of the text of a message, and one that asks its context for a secret."""

import json

from pulsar import Function


class price(Function):
    """Takes a tenth off large orders. What is no order is refused, and goes to the dead letters after some retries."""

    def process(self, input, context):
        order = json.loads(input)
        if order["amount"] >= context.get_user_config_value("discountFrom"):
            order["amount"] = round(order["amount"] * 0.9, 2)
        return json.dumps(order)


class large(Function):
    """Lets through what a person should look at."""

    def process(self, input, context):
        order = json.loads(input)
        return input if order["amount"] > float(context.get_secret("threshold")) else None
