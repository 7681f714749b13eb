import warnings

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    import lenstronomy.Util.param_util  # noqa: F401
