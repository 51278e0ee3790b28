"""What is uploaded: sources and multipart bodies; private."""
