"""Molecules."""

from __future__ import annotations

import io
import sys
from pathlib import Path
from typing import Any

import pytest
import rdkit.Chem
import rdkit.Chem.rdMolDescriptors

from fixtures.media import Stored
from stepwell.data_types import Molecule
from stepwell.errors import DataError

TEXT = b"ATOM      1  N   ALA A   1\nEND\n"


@pytest.mark.parametrize("kind", ["pdb", "pqr", "mmcif", "mcif", "cif", "sdf", "sd", "gro", "mol2", "mmtf"])
@pytest.mark.parametrize("how", ["str", "Path", "open", "BytesIO"])
def test_files_are_stored_unchanged(stored: Stored, tmp_path: Path, kind: str, how: str) -> None:
    path = tmp_path / f"some.{kind}"
    path.write_bytes(TEXT)
    with path.open("rb") as file:
        molecule = {
            "str": lambda: Molecule(str(path)),
            "Path": lambda: Molecule(path),
            "open": lambda: Molecule(file),
            "BytesIO": lambda: Molecule(io.BytesIO(TEXT), file_type=kind),
        }[how]()
    encoded = stored.log(molecule, "m", 4)
    assert stored.read(encoded["path"]) == TEXT
    assert encoded == {
        "_type": "molecule-file",
        "sha256": encoded["sha256"],
        "size": len(TEXT),
        "path": f"media/molecule/m_4_{encoded['sha256'][:20]}.{kind}",
    }


def atoms(stored: Stored, molecule: Molecule) -> tuple[Any, bool]:
    """The formula of the molecule in the file, and whether it has 3D coordinates."""
    read = rdkit.Chem.MolFromPDBBlock(stored.read(stored.log(molecule)["path"]).decode(), removeHs=False)
    return rdkit.Chem.rdMolDescriptors.CalcMolFormula(read), read.GetConformer().Is3D()


def test_smiles_become_a_3d_molecule(stored: Stored) -> None:
    assert atoms(stored, Molecule.from_smiles("CCO")) == ("C2H6O", True)
    first, again = (stored.log(Molecule.from_smiles("CCO", caption="ethanol")) for _ in range(2))
    assert first == again  # equal coordinates, so the same file
    assert first["caption"] == "ethanol"


def test_rdkit_molecule_becomes_a_pdb(stored: Stored, tmp_path: Path) -> None:
    molecule = rdkit.Chem.MolFromSmiles("CCO")
    assert atoms(stored, Molecule.from_rdkit(molecule))[0] == "C2H6O"
    flat = stored.log(Molecule.from_rdkit(molecule, convert_to_3d_and_optimize=False))
    assert b"HETATM" in stored.read(flat["path"])
    path = tmp_path / "ethanol.mol"
    rdkit.Chem.MolToMolFile(molecule, str(path))
    assert atoms(stored, Molecule.from_rdkit(path))[0] == "C2H6O"


@pytest.mark.parametrize(("captions", "expected"), [(["a", None], ["a", None]), ([None, None], False)])
def test_list_is_one_object(stored: Stored, captions: Any, expected: Any) -> None:
    items = [
        Molecule(io.BytesIO(TEXT + bytes([number])), caption, file_type="pdb")
        for number, caption in enumerate(captions)
    ]
    encoded = stored.log(items)
    assert (encoded["_type"], encoded["count"], encoded["captions"]) == ("molecule", 2, expected)
    assert [one["path"] for one in encoded["files"]] == encoded["filenames"]


@pytest.mark.parametrize("kind", [TypeError, ValueError])
@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: Molecule(5), "a path or a file object .int."),
        (lambda: Molecule(io.BytesIO(TEXT)), "the format of a molecule is not given"),
        (lambda: Molecule(io.BytesIO(TEXT), file_type="xyz"), "cannot have the format 'xyz'"),
        (lambda: Molecule("/no/such/file.pdb"), "cannot be read"),
        (lambda: Molecule.from_rdkit("/no/such/file.mol"), "the path is not a file"),
        (lambda: Molecule.from_rdkit("/no/such/file.xyz"), "cannot have the format '.xyz'"),
        (lambda: Molecule.from_rdkit(5), "RDKit cannot make a molecule from this value"),
    ],
)
def test_invalid_molecule_gives_the_reason(make: Any, text: str, kind: type[Exception]) -> None:
    with pytest.raises(kind, match=text) as raised:
        make()
    assert isinstance(raised.value, DataError)


def test_invalid_smiles_are_an_error(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match=r"cannot read the SMILES .'C\(C'"):
        Molecule.from_smiles("C(C")


def test_missing_rdkit_error_names_the_package(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rdkit.Chem", None)
    with pytest.raises(DataError, match="pip install rdkit"):
        Molecule.from_smiles("CCO")
