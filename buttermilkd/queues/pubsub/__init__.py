"""Jobs that wait at Google Cloud Pub/Sub. Nothing of Google's packages is imported before ``google.open_broker``."""
