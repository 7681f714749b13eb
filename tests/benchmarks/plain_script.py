"""What a user would write instead: DataLoader, astropy, CSV.

It reads cubes, runs a network, writes a score a line. It measures no noise, knows no masks, and
stops at the first bad file: python plain_script.py FOLDER WEIGHTS OUT.csv
"""

import csv
import sys
from pathlib import Path

import numpy as np
import torch
from astropy.io import fits
from torch.utils.data import DataLoader, Dataset

from equilens.models.checkpoint import load_checkpoint
from equilens.models.fold import fold

NOISE_NJY = 10.0


class Cubes(Dataset):
    def __init__(self, folder):
        self.paths = sorted(Path(folder).glob("*.fits"))

    def __len__(self):
        return len(self.paths)

    def __getitem__(self, index):
        path = self.paths[index]
        return path.stem, torch.from_numpy(fits.getdata(path, memmap=False).astype(np.float32))


def main(folder, weights, out, workers=1):
    network = fold(load_checkpoint(weights)[0])
    loader = DataLoader(Cubes(folder), batch_size=64, num_workers=int(workers))
    with open(out, "w", newline="") as file, torch.inference_mode():
        writer = csv.writer(file)
        for ids, images in loader:
            noise = torch.full(images.shape[:2], NOISE_NJY)
            mask = torch.zeros(images.shape, dtype=torch.bool)
            present = torch.ones(images.shape[:2], dtype=torch.bool)
            logits = network(images, noise, mask, present)
            writer.writerows(zip(ids, logits.tolist(), strict=True))


if __name__ == "__main__":
    main(*sys.argv[1:])
