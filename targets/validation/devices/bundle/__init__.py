"""The runner bundle: one directory of ARM64 files that runs on any Linux or Android kernel.

| path | what |
|---|---|
| `bin/python3` | the interpreter |
| `lib/` | loader, C library and what else is linked; the standard library in `lib/python3.N` |
| `site/` | numpy, onnxruntime, ai-edge-litert |
| `runner.py` | `edgewise.targets.validation.devices.runner` |
| `bundle.json` | its digest, and the versions in it |

Nothing of the device's own user space is used: the loader of the bundle starts its Python.
"""
