"""A third party's distribution: found beside the first-party plugins, never in their place."""

import shutil
import tomllib
from pathlib import Path

import pytest

from kdbench.errors import PluginError, UsageError
from kdbench.record import Spec
from kdbench.registry import Registry, build, load, scan

HERE = Path(__file__).parent / "kdbench-thirdparty"

FIRST_PARTY = '''
"""A first-party method."""
from dataclasses import dataclass
from kdbench.api import Method, hookimpl

@dataclass(frozen=True)
class Plain(Method):
    def loss(self, student, teacher, batch, state):
        return {}

@hookimpl
def kdbench_methods():
    yield "plain", Plain()
'''


def install(folder: Path, project: dict, packages: list[Path]) -> Path:
    """Lay a distribution out as an installer does: packages, and what pyproject.toml declares."""
    meta = folder / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    meta.mkdir(parents=True)
    (meta / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    )
    points = project["entry-points"]["kdbench"].items()
    (meta / "entry_points.txt").write_text(
        "[kdbench]\n" + "".join(f"{key} = {value}\n" for key, value in points)
    )
    for package in packages:
        shutil.copytree(
            package, folder / package.name, ignore=shutil.ignore_patterns("__pycache__")
        )
    return folder


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three distributions: a stand-in for the first-party one, the third party's, a shadow."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "plain.py").write_text(FIRST_PARTY)
    (folder / "shadowing.py").write_text(FIRST_PARTY)
    host = {"name": "kdbench", "version": "0", "entry-points": {"kdbench": {"plain": "plain"}}}
    install(folder, host, [])
    install(
        folder,
        tomllib.loads((HERE / "pyproject.toml").read_text())["project"],
        [HERE / "kdbench_thirdparty"],
    )
    shadow = {"name": "shadow", "version": "1", "entry-points": {"kdbench": {"mse": "shadowing"}}}
    return install(folder, shadow, [])


@pytest.fixture(scope="module")
def registry(site: Path, tmp_path_factory: pytest.TempPathFactory) -> Registry:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("KDBENCH_CACHE", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("KDBENCH_PLUGINS", raising=False)
        patch.syspath_prepend(str(site))
        return scan()


def test_an_installed_method_is_found_with_its_origin(registry: Registry) -> None:
    entry = registry.entry("method", "thirdparty_mse")
    assert (entry.source.distribution, entry.source.version, entry.source.first_party) == (
        "kdbench-thirdparty",
        "1.2.3",
        False,
    )
    assert entry.summary == "Half the mean squared difference of the logits."
    assert (entry.family, entry.extra) == ("logits", "")
    assert entry.paper == {
        "authors": "Lei Jimmy Ba and Rich Caruana",
        "title": "Do Deep Nets Really Need to be Deep?",
        "year": 2014,
        "venue": "NeurIPS",
        "arxiv": "1312.6184",
        "doi": "",
        "key": "ba2014deep",
        "reference": "arXiv:1312.6184",
    }
    assert entry.bibtex.startswith("@inproceedings{ba2014deep,\n")
    assert entry.fields["weight"].doc == "Of that term, above 0."


def test_two_distributions_may_use_one_entry_point_name(registry: Registry) -> None:
    found = {
        plugin.source.distribution for plugin in registry.plugins if plugin.source.name == "mse"
    }
    assert found == {"kdbench-thirdparty", "shadow"}


def test_a_first_party_name_cannot_be_shadowed(registry: Registry) -> None:
    assert registry.entry("method", "plain").source.first_party
    (shadow,) = (plugin for plugin in registry.plugins if plugin.source.distribution == "shadow")
    assert shadow.state == "broken"
    assert "'plain'" in shadow.error
    assert "kdbench 0 (plain)" in shadow.error
    assert "shadow 1 (shadowing)" in shadow.error


def test_a_worker_builds_the_installed_method(
    registry: Registry, site: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(site))
    source = registry.entry("method", "thirdparty_mse").source
    method = build(load(source)["method", "thirdparty_mse"], Spec.parse("thirdparty_mse[weight=2]"))
    assert method.weight == 2.0
    assert isinstance(method.weight, float)


def test_a_distribution_can_be_left_out(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KDBENCH_CACHE", str(tmp_path))
    monkeypatch.syspath_prepend(str(site))
    registry = scan(blocked=["kdbench-thirdparty", "shadow", "plain"])
    assert {plugin.state for plugin in registry.plugins} == {"blocked"}
    with pytest.raises(PluginError, match="--no-plugin"):
        registry.entry("method", "thirdparty_mse")
    with pytest.raises(UsageError, match="did you mean 'shadow'"):
        scan(blocked=["shadwo"])


def test_a_helper_module_belongs_to_the_code(
    site: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from kdbench.registry.syntax import reach

    package = shutil.copytree(site / "kdbench_thirdparty", tmp_path / "kdbench_thirdparty")
    before = reach("kdbench_thirdparty.mse", package / "mse.py", {})
    helper = package / "scale.py"
    helper.write_text("# said differently\n" + helper.read_text())
    commented = reach("kdbench_thirdparty.mse", package / "mse.py", {})
    helper.write_text(helper.read_text().replace("0.5", "0.25"))
    changed = reach("kdbench_thirdparty.mse", package / "mse.py", {})
    assert before.code == commented.code != changed.code
    assert len({before.digest, commented.digest, changed.digest}) == 3
