"""moto's server, as `moto_server`, but that a stack which `aws cloudformation deploy` has made (by a change set) has its
outputs: moto 5.2 leaves them out. To go when it does not any more."""

from moto.cloudformation.models import ChangeSet
from moto.server import main

apply = ChangeSet.apply


def apply_with_outputs(self):
    apply(self)
    self.stack.template_dict = self.template_dict
    self.stack.output_map = self.stack._create_output_map()


ChangeSet.apply = apply_with_outputs
main()
