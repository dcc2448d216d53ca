"""One module a program whose result files are read: does it know a document, what rows it holds."""
