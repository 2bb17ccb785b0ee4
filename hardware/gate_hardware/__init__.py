"""The panel: four lamps and the button for the internet pause.

``panel`` says what is shown and what a press means, ``gpio`` touches the pins, ``service`` joins both to the desk.
"""
