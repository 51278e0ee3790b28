"""Operations that are passed on to model servers."""
