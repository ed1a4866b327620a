"""What a request through the OPC UA door costs, beside asyncua asking asyncua directly in the same run."""
