"""``tlinear demo``: a trained network whose hidden layer is compressed in every format, and measured."""
