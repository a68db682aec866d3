//! Reads provender.yaml and the feature definitions, with positions and hints in every error
