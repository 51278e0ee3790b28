"""What DOCX and PPTX share: a zip archive of XML parts that refer to one another by relationships."""
