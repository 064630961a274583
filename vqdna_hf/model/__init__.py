"""The part that ships to the Hub: flat files that import only each other, torch and transformers."""
