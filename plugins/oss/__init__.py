"""Media in Alibaba Cloud OSS."""
