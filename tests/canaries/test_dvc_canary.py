"""DVC's parts without a promise, which sacpipe/project/dvc/child.py uses: a text, a variable, its classes' places."""

import inspect

from canary import canary

FILE = "sacpipe/project/dvc/child.py"


def test_the_text_of_a_failed_command():
    from sacpipe.project.dvc import child

    with canary("dvc StageCmdFailedError", f"{FILE}: _STATUS can match the new text"):
        from dvc.stage.exceptions import StageCmdFailedError

        assert child._STATUS.search(str(StageCmdFailedError("python -m stage", -9)))[1] == "-9"


def test_the_variable_of_a_stages_command():
    with canary("dvc DVC_STAGE", f"{FILE}: see_command can know a stage's command by another variable"):
        from dvc.env import DVC_STAGE
        from dvc.stage import run

        assert DVC_STAGE == "DVC_STAGE"
        assert "DVC_STAGE" in inspect.getsource(run), "expected it in the environment of a command"


def test_the_names_that_the_child_imports():
    with canary("dvc.repo.open_repo.clean_repos", f"{FILE}: import the classes from where they are now"):
        from sacpipe.project.dvc import child

        assert callable(child.clean_repos)
        for name in ("reproduce", "checkout", "push", "add", "get"):
            assert callable(getattr(child.Repo, name)), name


def test_the_objects_of_a_cache(tmp_path):
    with canary("dvc Repo.used_objs", f"{FILE}: garbage can find used and stored objects in another way"):
        from sacpipe.project.dvc import child

        names = ("all_experiments", "revs", "force")
        assert set(names) <= inspect.signature(child.Repo.used_objs).parameters.keys()
        with child.Repo.init(str(tmp_path), no_scm=True) as repo:
            path = tmp_path / ".dvc" / "cache" / "files" / "md5" / "aa" / ("b" * 30)
            path.parent.mkdir(parents=True)
            path.write_text("x")
            odb = dict(repo.cache.by_scheme())["local"]
            assert (odb.hash_name, [*odb.all()]) == ("md5", ["aa" + "b" * 30])
            assert odb.oid_to_path("aa" + "b" * 30) == str(path)
            odb.fs.remove([str(path)])
            assert not path.exists()
