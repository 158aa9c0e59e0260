"""The application grid."""
