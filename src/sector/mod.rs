//! Sectors: the blocks of weights that one call of the parameterizer makes.
