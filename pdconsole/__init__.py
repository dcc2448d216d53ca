"""pdconsole: explore prefill:decode disaggregation of vLLM from one terminal."""

__version__ = "0.1.0"
