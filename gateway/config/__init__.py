"""One YAML file configures a gateway: read, checked, typed, frozen."""
