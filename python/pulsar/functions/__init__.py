"""The interfaces a function is written against, as in `pulsar-client`."""
