# The last cell of notebook 23 in tests/test_explore.py, whose names it uses: each control is moved.
# ruff: noqa: F821
import time


def others(control):
    if hasattr(control, "options"):
        return [one for one in control.options if one != control.value]
    if hasattr(control, "base"):
        return [control.base**control.min, control.base**control.max]
    return [control.min, control.max] if hasattr(control, "min") else ["source 1", ""]


boxes = [one for one in ui.Widget.widgets.values() if isinstance(one, ui.interactive)]
assert len(boxes) == 4
moved = []
for box in boxes:
    for control in box.kwargs_widgets:
        for value in [*others(control), control.value]:
            began = time.process_time()
            control.value = value
            moved.append((time.process_time() - began, control.description, value))
            said = str(box.out.outputs)
            assert "Traceback" not in said, (control.description, value, said[-500:])
            assert any(kind in said for kind in ("image/png", "text/html", "stream")), (
                control.description,
                value,
            )
moved.sort(key=lambda one: one[0])
print(f"{len(moved)} moves, half of them in {moved[len(moved) // 2][0]:.3f} s, the slowest: {moved[-5:]}")
sae_at.children[2].index = 0
assert sae_at.chosen.is_dir()
