"""Reading FITS files quickly where they are plain, with astropy where they are not."""
