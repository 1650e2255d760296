"""Mixed traffic on a real cluster while parts of it are killed; afterwards the clients' books meet the ledger's."""
