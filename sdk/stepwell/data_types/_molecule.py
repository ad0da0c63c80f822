"""Molecules: files, and structures that RDKit generates from a SMILES string."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from stepwell.data_types._files import FileSink, store
from stepwell.data_types._libraries import library
from stepwell.data_types._media import Media, captions_of, checked_caption
from stepwell.data_types._sources import Source, checked_format
from stepwell.errors import DataError

_FORMATS = ("pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol2", "mmtf")
_RDKIT_READERS = {"mol": "MolFromMolFile", "mol2": "MolFromMol2File", "pdb": "MolFromPDBFile", "sdf": "MolFromMolFile"}
_SEED = 0xF00D  # the same formula yields the same shape, and so the same file


class Molecule(Media):
    """A molecule.

    Args:
        data_or_path: a path or a file object: pdb, pqr, mmcif, mcif, cif, sdf, sd, gro, mol2, mmtf.
        caption: a text shown with it.
        file_type: the format of a file object without a name.

    Raises:
        DataError: there is no such file, or it has another format.
    """

    folder = "molecule"

    def __init__(self, data_or_path: Any, caption: Any = None, file_type: str | None = None) -> None:
        self.caption = checked_caption(caption)
        source = Source.of(data_or_path)
        if source is None:
            raise DataError(
                "a molecule must be a path or a file object",
                detail=type(data_or_path).__name__,
                hint="Molecule.from_smiles(...) takes SMILES strings, Molecule.from_rdkit(...) molecules of RDKit",
            )
        self._source = source
        self._format = checked_format(file_type or source.suffix, _FORMATS, "a molecule")

    @classmethod
    def from_rdkit(
        cls,
        data_or_path: Any,
        caption: Any = None,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Molecule:
        """A molecule from an RDKit molecule, or from a mol, mol2, sdf or pdb file that RDKit reads, as pdb.

        Args:
            data_or_path: the molecule, or the path of the file.
            caption: a text shown with it.
            convert_to_3d_and_optimize: whether to add hydrogen and compute a 3D structure.
            mmff_optimize_molecule_max_iterations: the most iterations of its optimization.

        Raises:
            DataError: RDKit is not installed, cannot read the molecule, or finds no 3D structure for it.
        """
        chem = library("rdkit.Chem", "an RDKit molecule", "rdkit")
        molecule = data_or_path
        if isinstance(data_or_path, str | os.PathLike):
            path = Path(data_or_path)
            kind = checked_format(path.suffix, _RDKIT_READERS, "a molecule for RDKit")
            if not path.is_file():
                raise DataError("the path is not a file", detail=str(path), hint="give the path of an existing file")
            molecule = getattr(chem, _RDKIT_READERS[kind])(str(path))
        if not isinstance(molecule, chem.Mol):
            raise DataError("RDKit cannot make a molecule from this value", detail=f"{data_or_path!r}"[:200])
        if convert_to_3d_and_optimize:
            molecule = _in_space(chem, molecule, mmff_optimize_molecule_max_iterations)
        return cls._of_text(chem.MolToPDBBlock(molecule), caption)

    @classmethod
    def from_smiles(
        cls,
        data: str,
        caption: Any = None,
        sanitize: bool = True,
        convert_to_3d_and_optimize: bool = True,
        mmff_optimize_molecule_max_iterations: int = 200,
    ) -> Molecule:
        """A molecule from a formula in SMILES, such as "CCO". For the other arguments, see `from_rdkit` and, for
        `sanitize`, RDKit.

        Raises:
            DataError: as `from_rdkit`.
        """
        chem = library("rdkit.Chem", "a molecule from SMILES", "rdkit")
        molecule = chem.MolFromSmiles(data, sanitize=sanitize)
        if molecule is None:
            raise DataError("RDKit cannot read the SMILES", detail=f"{data!r}"[:200])
        return cls.from_rdkit(molecule, caption, convert_to_3d_and_optimize, mmff_optimize_molecule_max_iterations)

    @classmethod
    def batch_json(cls, items: Sequence[Molecule], encoded: Sequence[dict[str, Any]]) -> dict[str, Any]:
        names = [one["path"] for one in encoded]
        return {"_type": "molecule", "filenames": names, "captions": captions_of(items) or False}

    @classmethod
    def _of_text(cls, pdb: str, caption: Any) -> Molecule:
        molecule = cls.__new__(cls)
        molecule.caption = checked_caption(caption)
        molecule._source, molecule._format = Source(pdb.encode(), ".pdb"), "pdb"
        return molecule

    def _encode(self, key: str, step: int | str, sink: FileSink) -> dict[str, Any]:
        ref = store(sink, self.folder, key, step, f".{self._format}", self._source.data)
        encoded: dict[str, Any] = {"_type": "molecule-file", **ref.as_json()}
        return encoded if self.caption is None else encoded | {"caption": self.caption}


def _in_space(chem: Any, molecule: Any, iterations: int) -> Any:
    shapes = library("rdkit.Chem.AllChem", "the 3D structure of a molecule", "rdkit")
    molecule = chem.AddHs(molecule)
    if shapes.EmbedMolecule(molecule, randomSeed=_SEED) != 0:
        raise DataError("RDKit finds no 3D structure for the molecule", hint="pass convert_to_3d_and_optimize=False")
    if shapes.MMFFHasAllMoleculeParams(molecule):
        shapes.MMFFOptimizeMolecule(molecule, maxIters=iterations)
    return molecule
