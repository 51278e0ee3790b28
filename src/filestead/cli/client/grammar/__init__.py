"""The grammar of the official command line: tables of flags, the parser, and the values it accepts."""
