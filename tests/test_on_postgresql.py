"""All tests of moves that take a project `registered`, with MLflow's store in PostgreSQL."""

import inspect

import pytest
import test_moves
import test_promote
import test_rollback
import test_status
from conftest import emptied
from project import Project


@pytest.fixture
def registered(shared_postgresql: Project) -> Project:
    return emptied(shared_postgresql)


for module in (test_moves, test_promote, test_rollback, test_status):
    for name, test in vars(module).items():
        if name.startswith("test_") and "registered" in inspect.signature(test).parameters:
            globals()[name] = test
