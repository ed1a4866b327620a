"""Values to IT: poll the plant through the passage, vet, keep, and hand over by HTTPS and MQTT."""
