"""Floor 1: who is asking. Certificates to identities, trust by zone, TLS contexts, the issuing authority."""
