"""moto's server, like `moto_server`, with one correction: a stack that `aws cloudformation deploy` made (with a change
set) has its outputs. moto 5.2 leaves them out; remove this file when moto no longer does."""

from moto.cloudformation.models import ChangeSet
from moto.server import main

apply = ChangeSet.apply


def apply_with_outputs(self):
    apply(self)
    self.stack.template_dict = self.template_dict
    self.stack.output_map = self.stack._create_output_map()


ChangeSet.apply = apply_with_outputs
main()
